// Pings a user with a client generated from the OpenAPI document, and prints the id and state of the ping.
import createClient from "openapi-fetch";
import type { paths } from "./api.js";

declare const process: { argv: string[] };

const [, , server, token, user] = process.argv;
const client = createClient<paths>({ baseUrl: server, headers: { "X-RhoConnect-API-TOKEN": token } });

const ping = await client.POST("/rc/v1/users/ping", {
  body: { user_id: [user], message: "hello", badge: 1 },
  parseAs: "text",
});
const id = ping.response.headers.get("X-Ping-Id") ?? "";
const report = await client.GET("/rc/v1/pings/{ping_id}", { params: { path: { ping_id: id } } });
const refused = await client.POST("/rc/v1/users/ping", { body: { badge: -1 }, parseAs: "json" });
const error = refused.error;
const code = typeof error === "object" && "error" in error ? error.error.code : error;
console.log(ping.response.status, id, report.data?.ping_id, code);
