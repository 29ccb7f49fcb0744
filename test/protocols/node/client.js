// Triggers a run over connect-web's JSON transport, waits for it, reads it again, and prints its output's bytes.
//
// It needs no generated code: --descriptors names a FileDescriptorSet of the contract.
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";

import { createFileRegistry, fromBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-web";

const names = ["address", "token", "descriptors", "run-id", "workflow", "input"];
const { values: args } = parseArgs({
  options: Object.fromEntries(names.map((name) => [name, { type: "string" }])),
});
const missing = names.filter((name) => args[name] === undefined);
if (missing.length > 0) {
  throw new Error(`missing: --${missing.join(", --")}`);
}

const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, readFileSync(args.descriptors)));
const transport = createConnectTransport({
  baseUrl: `http://${args.address}`,
  useBinaryFormat: false,
  interceptors: [
    (next) => (request) => {
      request.header.set("Authorization", `Bearer ${args.token}`);
      return next(request);
    },
  ],
});
const client = createClient(registry.getService("tenon.runs.v1.RunService"), transport);

const run = { runId: args["run-id"], workflow: args.workflow, inputJson: args.input };
const options = { timeoutMs: 60_000 };
const created = await client.trigger({ run }, options);
if (created.runId !== run.runId) {
  throw new Error(`the run triggered as ${run.runId} is called ${created.runId}`);
}
const waited = (await client.triggerAndWait({ run }, options)).run;
const read = (await client.getRun({ runId: run.runId }, options)).run;
if (waited.outputJson !== read.outputJson) {
  throw new Error(`waiting gave ${waited.outputJson}, reading ${read.outputJson}`);
}
process.stdout.write(read.outputJson);
