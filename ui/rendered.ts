/**
 * What signatures here say of components. preact itself documents the types behind these names.
 *
 * @module
 */
import type { ComponentChildren, JSX } from "preact";

/**
 * What a component renders.
 *
 * @internal
 */
export type Rendered = JSX.Element;

/**
 * What stands inside a component.
 *
 * @internal
 */
export type Children = ComponentChildren;
