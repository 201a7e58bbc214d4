// Shows the API's description; all that it needs is on this server.
globalThis.SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#reference",
  deepLinking: true,
  docExpansion: "list",
  validatorUrl: null, // else the description is sent to a host that checks it
});
