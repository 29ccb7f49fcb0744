"""Triggers a run over gRPC, waits for it, reads it again, and prints its output's bytes.

The stubs are generated from proto/ by the test that calls this; --stubs names their folder.
"""

import argparse
import sys

import grpc


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("address", "token", "stubs", "run-id", "workflow", "input"):
        parser.add_argument(f"--{name}", required=True)
    args = parser.parse_args()
    sys.path.insert(0, args.stubs)
    from tenon.runs.v1 import runs_pb2, runs_pb2_grpc  # Only there once the stubs are on the path.

    metadata = (("authorization", f"Bearer {args.token}"),)
    run = runs_pb2.NewRun(run_id=args.run_id, workflow=args.workflow, input_json=args.input)
    with grpc.insecure_channel(args.address) as channel:
        service = runs_pb2_grpc.RunServiceStub(channel)
        created = service.Trigger(runs_pb2.TriggerRequest(run=run), metadata=metadata, timeout=60)
        if created.run_id != args.run_id:
            sys.exit(f"the run triggered as {args.run_id} is called {created.run_id}")
        waited = service.TriggerAndWait(runs_pb2.TriggerAndWaitRequest(run=run), metadata=metadata, timeout=60).run
        read = service.GetRun(runs_pb2.GetRunRequest(run_id=args.run_id), metadata=metadata, timeout=60).run
        if waited.output_json != read.output_json:
            sys.exit(f"waiting gave {waited.output_json!r}, reading {read.output_json!r}")
    sys.stdout.buffer.write(read.output_json.encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
