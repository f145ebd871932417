"""TFRecord files of tf.train.Example, without TensorFlow; one test writes with the real one."""

from __future__ import annotations

import gzip
import subprocess
import sys

import pyarrow as pa
import pytest

from trueup.datasets import tfrecord_file
from trueup.datasets.example_proto import example_class
from trueup.datasets.open import open_dataset
from trueup.errors import DataError
from trueup.frames.format import encode


def _example(**features: list[object]) -> bytes:
    example = example_class()()
    for name, values in features.items():
        feature = example.features.feature[name]
        if not values:
            feature.bytes_list.SetInParent()
        elif isinstance(values[0], bytes):
            feature.bytes_list.value.extend(values)
        elif isinstance(values[0], int):
            feature.int64_list.value.extend(values)
        else:
            feature.float_list.value.extend(values)
    return example.SerializeToString()


def test_all_kinds_absent_and_empty(read, write):
    path = write(
        "a.tfrecord",
        encode(
            [
                _example(i=[1], f=[0.5], b=[b"x"], many=[1, 2], words=[b"p", b"q"]),
                _example(i=[-2], b=[], words=[]),
                _example(f=[2.0], many=[3]),
            ]
        ),
    )
    table = read(path)
    assert table.to_pydict() == {
        "b": ["x", None, None],
        "f": [0.5, None, 2.0],
        "i": [1, -2, None],
        "many": [[1, 2], None, [3]],
        "words": [["p", "q"], [], None],
    }
    assert table.schema.field("f").type == pa.float32()


def test_types_over_all_chunks_and_in_pieces(read, write, monkeypatch):
    monkeypatch.setattr(tfrecord_file, "CHUNK_EXAMPLES", 64)
    examples = [_example(n=[i], t=[b"2013-01-01T00:00:00Z"]) for i in range(1000)]
    examples[900] = _example(n=[0.25])
    examples[950] = _example(n=[7, 8])
    path = write("shard-00000-of-00001", encode(examples))
    assert len(open_dataset(path).units) > 10
    table = read(path)
    assert table.schema.field("n").type == pa.list_(pa.float64())
    assert table["n"][3].as_py() == [3.0]
    assert table["n"][900].as_py() == [0.25]
    assert table["n"][950].as_py() == [7.0, 8.0]
    assert table.schema.field("t").type == pa.timestamp("us", "UTC")
    assert read(path, ["t"]).num_rows == 1000


def test_bytes_are_text_unless_many_are_not(read, write):
    mostly = [_example(text=[b"a"], image=[bytes([255, i])]) for i in range(99)]
    path = write("b.tfrecord.gz", gzip.compress(encode([*mostly, _example(text=[b"\xff"])])))
    table = read(path)
    assert table["text"].to_pylist() == ["a"] * 99 + ["\\xff"]
    assert table["image"][7].as_py() == bytes([255, 7])
    assert "'text': 1 values are not UTF-8" in " ".join(open_dataset(path).notes)


def test_features_of_different_kinds_are_strings_with_a_note(read, write):
    path = write("c.tfrecord", encode([_example(a=[1]), _example(a=[b"x"]), _example(b=[1])]))
    assert read(path)["a"].to_pylist() == ["1", "x", None]
    assert "'a': features of different kinds" in open_dataset(path).notes[0]


def test_damage_names_file_and_byte(write):
    whole = encode([_example(a=[1]), _example(a=[2])])
    for data, sentence in [
        (whole[:-3], "cut short inside a frame"),
        (whole[:-6] + b"\x00" + whole[-5:], "the checksum of a frame is wrong"),
        (encode([b"\xff\xff"]), "record 0 from byte 0 on is no tf.train.Example"),
        (whole + b"\x01" * 40, "no TFRecord frame"),
    ]:
        with pytest.raises(DataError) as caught:
            open_dataset(write("bad.tfrecord", data))
        assert "bad.tfrecord" in str(caught.value) and sentence in str(caught.value)


@pytest.mark.heavy
def test_files_that_tensorflow_wrote(read, tmp_path):
    program = """
import sys
import tensorflow as tf
for name, compression in (("plain.tfrecord", ""), ("packed.tfrecord.gz", "GZIP")):
    with tf.io.TFRecordWriter(sys.argv[1] + "/" + name, compression) as writer:
        for i in range(10):
            feature = {
                "i": tf.train.Feature(int64_list=tf.train.Int64List(value=[i - 5])),
                "f": tf.train.Feature(float_list=tf.train.FloatList(value=[i / 4] * (i % 3))),
                "b": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"ok"])),
            }
            example = tf.train.Example(features=tf.train.Features(feature=feature))
            writer.write(example.SerializeToString())
"""
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, timeout=300)
    for name in ("plain.tfrecord", "packed.tfrecord.gz"):
        table = read(str(tmp_path / name))
        assert table["i"].to_pylist() == [i - 5 for i in range(10)]
        assert table["f"].to_pylist() == [[i / 4] * (i % 3) for i in range(10)]
        assert table["b"].to_pylist() == ["ok"] * 10
