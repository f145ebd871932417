"""Rows in: frames and files read as typed columns in parts of bounded memory, and the InputSpec
inferred from them.

``open.open_dataset`` is the door; ``infer.infer_spec`` and ``spec_toml`` decide what each column
is for. Layers inside: open -> {memory, csv_file, json_lines, parquet_file, tfrecord_file} ->
parts -> columns.
"""
