# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Rows on their way from a raw file to Parquet: in a file, so that memory holds only a batch of them at a time."""

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import NamedTemporaryFile

import pyarrow as pa
from datasets import Features, Value

from data_scripts.schema import dataset_features

SCHEMA = Features({**dataset_features([]), "image": Value("string"), "relation": Value("string")}).arrow_schema
"""The row, with `image` a path and `relation` a name."""
BATCH = 1000


class StoredRows:
    """Rows in a file of Arrow's stream format, `path` in a folder: dictionaries when iterated, columns by `batches`.

    Each time, the file is read anew and not mapped into memory, where all that was read would stay.
    """

    def __init__(self, rows: Iterable[dict], folder: Path):
        rows, self._length, batch = iter(rows), 0, None
        with NamedTemporaryFile(dir=folder, delete=False) as file, pa.ipc.new_stream(file, SCHEMA) as writer:
            self.path = Path(file.name)
            while batch or batch is None:
                batch = list(itertools.islice(rows, BATCH))
                writer.write_batch(pa.RecordBatch.from_pylist(batch, SCHEMA))
                self._length += len(batch)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[dict]:
        for batch in self.batches():
            yield from batch.to_pylist()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yields the rows as columns, BATCH of them at a time; the last batch is empty."""
        with pa.OSFile(str(self.path)) as file, pa.ipc.open_stream(file) as reader:
            yield from reader
