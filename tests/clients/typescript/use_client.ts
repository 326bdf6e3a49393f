// Uses the generated types: registers a device, sends to it, reads what became of it, and is told of a mistake.

import assert from "node:assert/strict";
import { env } from "node:process";
import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

const customer = 123;

const api = createClient<paths>({
  baseUrl: env["PUSH_URL"] ?? "",
  headers: { Authorization: `Bearer ${env["PUSH_API_KEY"]}` },
});

const registered = await api.POST("/api/Push/register", {
  body: {
    userType: "customer",
    id: customer,
    platform: "android",
    fcmToken: env["PUSH_FCM_TOKEN"] ?? null,
    deviceId: "typescript",
  },
});
assert.equal(registered.data?.success, true);

const sent = await api.POST("/api/Push/sendToCustomer", {
  params: { header: { Prefer: "wait=20" } },
  body: { id: customer, title: "Hello", body: "From a generated client 🟦" },
});
assert.ok(sent.data);
const status: components["schemas"]["SendAnswer"]["status"] = sent.data.status;
assert.equal(status, "sent");

const found = await api.GET("/api/Push/notifications/{notificationId}", {
  params: { path: { notificationId: sent.data.notificationId } },
});
assert.ok(found.data);
assert.equal(found.data.customerId, customer);
assert.equal(found.data.title, "Hello");
assert.deepEqual(found.data.deliveries.map((delivery) => delivery.deviceId), ["typescript"]);

const refused = await api.POST("/api/Push/sendToCustomer", {
  body: { id: customer, title: "", body: "" },
});
assert.ok(refused.error);
const code: components["schemas"]["Code"] = refused.error.code;
assert.equal(code, "invalid_input");
assert.deepEqual((refused.error.errors ?? []).map((problem) => problem.field).sort(), ["body", "title"]);
