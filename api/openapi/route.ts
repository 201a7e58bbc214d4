// A route is one object: what it takes, what it answers, what is said of it, and what it does. By its schemas requests
// are checked, the page reads answers, and OpenAPI describes both.

import { Hono } from "hono";
import type { z } from "zod";
import {
  type ApiEnv,
  type App,
  idPath,
  parseOr400,
  type ProblemStatus,
  readJson,
  type RequestContext,
} from "../http.ts";

/** Ids of the examples, by what they name; a test makes that, and sends the examples. */
export const EXAMPLE_IDS = {
  order: "01a20441-ae89-7222-9369-984124b51d7d",
  event: "01a20441-ae89-7222-9369-9d1452524b8d",
  deadLetter: "01a20441-b6c4-7a10-8d3e-5f0c7f2b9a64",
  fault: "01a20442-1b3c-7d2e-9f10-2a3b4c5d6e7f",
  replay: "01a20442-03d5-7c9e-a1b2-3c4d5e6f7081",
} as const;

/** A schema of zod or zod/mini. */
export type AnySchema = z.core.$ZodType;

/** A header, or a part of a path that is no id. */
export interface Parameter {
  readonly name: string;
  readonly in: "path" | "header";
  readonly description: string;
  readonly required?: boolean;
  readonly schema: object;
  /** A value with which the request works; a test sends it, as it does all examples. */
  readonly example: unknown;
}

/** An answer; by media type, the schema of its body, or null for a text. */
export interface Answer {
  readonly status: ProblemStatus;
  readonly description: string;
  readonly content: Readonly<Record<string, AnySchema | null>>;
  readonly headers: Readonly<
    Record<string, { readonly description: string; readonly [more: string]: unknown }>
  >;
}

/** What is said of a route; of a middleware, it is said of all routes behind it. */
export interface About {
  readonly tag?: string;
  /** The name of the operation, for generated clients. */
  readonly operationId?: string;
  readonly summary?: string;
  readonly description?: string;
  /** What the `:id` in the path is the id of. */
  readonly id?: keyof typeof EXAMPLE_IDS;
  readonly query?: AnySchema;
  readonly parameters?: readonly Parameter[];
  readonly body?: {
    readonly schema: AnySchema;
    /** JSON by default. */
    readonly type?: string;
    /** Whether it may be left away: an empty object then. */
    readonly optional?: boolean;
    /** By name; `x-status` is that of the answer, where it is not the one of success. */
    readonly examples: Readonly<
      Record<string, { readonly summary: string; readonly value: unknown; readonly "x-status"?: number }>
    >;
  };
  readonly answers?: readonly Answer[];
  /** By status, when the request is refused; what follows from `id`, `query` and `body` needs no mention. */
  readonly refusals?: Readonly<Record<number, string>>;
  /** Which of the ways in are open; an empty one is to come without anything. */
  readonly security?: readonly Readonly<Record<string, readonly string[]>>[];
}

interface RouteSpec<Query, Body> extends Omit<About, "tag" | "operationId" | "summary"> {
  readonly query?: z.ZodType<Query>;
  readonly body?: Omit<NonNullable<About["body"]>, "schema"> & { readonly schema: z.ZodType<Body> };
  /** The first is that of success. */
  readonly answers: readonly [Answer, ...Answer[]];
  /**
   * What it does; anything but a `Response` is sent as JSON with the status of success. Each part of the request that is not
   * valid is a 400: the id, where one is declared, in lower case, ahead of all else; the others once they are asked for.
   */
  readonly handle: (request: {
    readonly c: RequestContext;
    readonly id: string;
    query(): Query;
    body(): Promise<Body>;
  }) => object | Promise<object>;
}

export type Route = (app: App, tag: string) => void;

/** Makes a route of its method and path below the group's, the name of its operation, and its description. */
export function route<Query, Body>(
  on: `${"GET" | "POST" | "PUT" | "DELETE"} /${string}`,
  operationId: string,
  summary: string,
  { handle, ...about }: RouteSpec<Query, Body>,
): Route {
  const declared = <T>(part: T | undefined): T => {
    if (part) return part;
    throw new Error(`${operationId} asks for a part of the request that it does not declare`);
  };
  const handler = async (c: RequestContext) => {
    // No getters: with them each request outlived the young generation, and took 15 to 32 % more of the API's time.
    const answer = await handle({
      c,
      id: about.id ? parseOr400(idPath, { id: c.req.param("id") }, "path").id : "",
      query: () => parseOr400(declared(about.query), c.req.query(), "query"),
      body: async () => {
        const { schema, optional } = declared(about.body);
        const isOmitted = optional && c.req.header("content-type") === undefined;
        return parseOr400(schema, isOmitted ? {} : await readJson(c), "body");
      },
    });
    return answer instanceof Response ? answer : c.json(answer, about.answers[0].status);
  };
  const [method = "", path = ""] = on.split(" ");
  return (app, tag) => void app.on(method, path, described({ tag, operationId, summary, ...about }, handler));
}

const ABOUT = new WeakMap<object, About>();

/** An application of these routes, which belong together under `tag`. */
export function routes(tag: string, ...all: readonly Route[]): App {
  const app = new Hono<ApiEnv>();
  for (const register of all) register(app, tag);
  return app;
}

/** `handler`, with what is said of it; that costs requests nothing. */
export function described<H extends object>(about: About, handler: H): H {
  ABOUT.set(handler, about);
  return handler;
}

/** What was said of a handler, if anything. */
export function aboutOf(handler: object): About | undefined {
  return ABOUT.get(handler);
}

export const LOCATION: Answer["headers"] = {
  location: { description: "The path to go on with.", required: true, schema: { type: "string" } },
};

export function json(
  status: ProblemStatus,
  description: string,
  schema: AnySchema,
  headers: Answer["headers"] = {},
): Answer {
  return { status, description, content: { "application/json": schema }, headers };
}

/** An answer that is a text of one of these media types. */
export function text(status: ProblemStatus, description: string, ...types: readonly string[]): Answer {
  return { status, description, content: Object.fromEntries(types.map((type) => [type, null])), headers: {} };
}
