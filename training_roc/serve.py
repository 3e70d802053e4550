# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""
Serves a ROC model over HTTP on a machine of one's own: what an Inference Endpoint takes and answers, by POST to `/`.

    python -m training_roc.serve --model org/roc-mnre --port 8000

`/docs` has an example. SIGTERM ends the server once all that it has taken is answered.
"""

import argparse
import contextlib
import signal
import socket
from importlib.util import find_spec
from pathlib import Path

from data_scripts.command import ending_in_one_line
from data_scripts.hub_errors import explain_hub_errors
from data_scripts.reading import DataError


def load_app(options: argparse.Namespace):
    """The application of a command line, its model asked once.

    Raises:
        DataError: there is no ROC model of this name, or no such tagger or detector as the environment names.
        HubError: the model is not on the Hub, or may not be read.
    """
    folder = name = options.model
    if not Path(name).is_dir():
        from huggingface_hub import snapshot_download

        with explain_hub_errors(name, "model", options.model_revision):
            folder = snapshot_download(name, revision=options.model_revision)
    from transformers import pipeline

    from modeling_roc import RocModel
    from processing_roc import RocProcessor
    from training_roc.serving.handler import name_finders
    from training_roc.serving.server import EXAMPLE, Server, make_app

    try:
        pipe = pipeline(
            "relation-extraction",
            processor=RocProcessor.from_pretrained(folder),
            model=RocModel.from_pretrained(folder, dtype="auto"),
            **name_finders(Path(folder)),
        )
        pipe(EXAMPLE["inputs"])
    except (OSError, ValueError, ImportError) as error:
        raise DataError(f"model {name!r}: {error}") from error
    return make_app(Server(pipe, options))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--model", required=True, help="a trained model: on the Hub, or a folder")
    add("--model_revision", help="its branch, tag or commit on the Hub")
    add("--host", default="127.0.0.1", help="the address to listen at; default: %(default)s, this machine alone")
    add("--port", type=int, default=8000, help="default: %(default)s; 0 takes a free one")
    add(
        "--batch_size",
        type=int,
        default=32,
        help="most inputs of a batch, and pairs asked at once; default: %(default)s",
    )
    add("--max_concurrent_requests", type=int, default=128, help="those beyond get status 429; default: %(default)s")
    add("--payload_limit", type=int, default=8 * 2**20, help="most bytes of a request; default: %(default)s")
    add("--max_pixels", type=int, default=50_000_000, help="most pixels of its pictures; default: %(default)s")
    add("--timeout", type=float, default=60, help="most seconds until the answer; default: %(default)s")
    options = parser.parse_args()
    for name in ("batch_size", "max_concurrent_requests", "payload_limit", "max_pixels", "timeout"):
        if getattr(options, name) <= 0:
            parser.error(f"--{name} must be above 0, not {getattr(options, name)}")
    host, port = options.host, options.port
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
        with ending_in_one_line(lambda: "nothing was served"):
            if not all(map(find_spec, ("fastapi", "uvicorn", "prometheus_client"))):
                raise DataError("a server needs what this installs: pip install -e .[serve]")
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((host, port))
            except (OSError, OverflowError) as error:
                raise DataError(f"cannot listen at port {port} of {host}: {error}") from error
            app = load_app(options)
        import uvicorn

        # No answer takes longer than the time limit; to read it, a client has five seconds more.
        config = uvicorn.Config(app, timeout_graceful_shutdown=int(options.timeout) + 5)
        listener.listen(config.backlog)
        address, port, *_ = listener.getsockname()
        print(f"{options.model}: http://{f'[{address}]' if ':' in address else address}:{port}/docs", flush=True)
        # uvicorn raises the signal that ended it again, and this one is not to be the process' end.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
