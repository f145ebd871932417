"""The raw variables that a model takes, and whether its training data agree with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import get_args

from trueup.errors import BadInputError
from trueup.records.input_spec import (
    FLOAT_DTYPES,
    INTEGER_DTYPES,
    Dtype,
    InputSpec,
    Kind,
    Role,
    Variable,
)
from trueup.serving.signature import Signature, TensorSpec

NO_INPUT = "no input of the model"

_TEXTS = ("string", "bytes", "timestamp")
# What JSON and a profile hold of a type that InputSpecs do not have.
_AS = {"bfloat16": "float32"}


def model_inputs(signatures: Mapping[str, Signature]) -> dict[str, Variable]:
    """The raw variables that a model takes, of all its signatures for predict.

    :raises BadInputError: two signatures give one name to different types, or a type is none that
        requests can carry.
    """
    found: dict[str, Variable] = {}
    for signature in signatures.values():
        if signature.method != "predict":
            continue
        for name, tensor in signature.inputs.items():
            variable = _variable(signature.name, name, tensor)
            if found.setdefault(name, variable) != variable:
                raise BadInputError(
                    f"the model's signatures take {name!r} as different types or shapes",
                    remedy="give the variables names of their own",
                )
    if not found:
        raise BadInputError("the model's signatures for predict take no inputs")
    return found


def _variable(signature: str, name: str, tensor: TensorSpec) -> Variable:
    dtype = _AS.get(tensor.dtype, tensor.dtype)
    if dtype not in get_args(Dtype):
        raise BadInputError(
            f"signature {signature} takes {name!r} as {tensor.dtype}, which requests cannot carry",
            remedy="export the model with numbers, texts or booleans as inputs",
        )
    plain = dtype in _TEXTS or dtype == "bool"
    return Variable(
        name=name,
        dtype=dtype,  # type: ignore[arg-type]  # looked up above
        kind=Kind.CATEGORICAL if plain else Kind.NUMERIC,
        shape=tuple(-1 if size is None else size for size in tensor.row_shape or ()),
    )


def not_inputs(inputs: Mapping[str, Variable], known: InputSpec) -> tuple[str, ...]:
    """The features of the training data that the model does not take. They are not compared: no
    request has them, and each would look wholly missing."""
    return tuple(v.name for v in known.with_role(Role.FEATURE) if v.name not in inputs)


def agreed_spec(
    inputs: Mapping[str, Variable], known: InputSpec, source: str
) -> tuple[InputSpec, tuple[str, ...]]:
    """The model's variables: as the training data have them, and what only the model has.

    :param known: of the training data. :param source: their name, for messages.
    :returns: the InputSpec, and sentences on what differs.
    :raises BadInputError: a variable is text on one side and a number on the other, or one value
        on one side and several on the other; or the data have none of the model's inputs.
    """
    there = known.by_name
    common = [name for name in inputs if name in there]
    if not common:
        raise BadInputError(
            f"the model takes {_some(list(inputs))}, and none of that is in {source}, which has "
            f"{_some(list(there))}",
            remedy="name the data that it was trained on, or export it with a signature that takes "
            "the raw variables by name",
        )
    notes = []
    for name in common:
        note = _difference(there[name], inputs[name], source)
        notes += [note] if note else []
        if there[name].role in (Role.IGNORED, Role.ID):
            notes.append(f"{name} is not compared: {there[name].reason or there[name].role.value}")
    absent = [name for name in inputs if name not in there]
    if absent:
        notes.append(f"not in the training data, so not compared: {_some(absent)}")
    extra = not_inputs(inputs, known)
    if extra:
        notes.append(
            f"in the training data, and no input of the model, so not compared: {_some(extra)}"
        )
    variables = (
        *(
            v.model_copy(update={"role": Role.IGNORED, "reason": NO_INPUT})
            if v.name in extra
            else v
            for v in known.variables
        ),
        *(inputs[name] for name in absent),
    )
    return InputSpec(variables=variables), tuple(notes)


def _difference(data: Variable, model: Variable, source: str) -> str:
    """What is worth a note of how a variable differs; empty where there is nothing.

    :raises BadInputError: the one cannot be the other.
    """
    # A category may be kept as an integer, and a boolean as a number or a word.
    if (data.dtype in _TEXTS) != (model.dtype in _TEXTS) and "bool" not in (
        data.dtype,
        model.dtype,
    ):
        raise BadInputError(
            f"the model takes {data.name!r} as {model.dtype}, and in {source} it is {data.dtype}",
            remedy="name the data that it was trained on, or correct the type: "
            f"variables.{data.name}.dtype in a file for --spec",
        )
    if data.multi_valued != _takes_several(model):
        raise BadInputError(
            f"the model takes {_how_many(_takes_several(model))} of {data.name!r} per row, and "
            f"{source} has {_how_many(data.multi_valued)}",
            remedy="name the data that it was trained on",
        )
    if data.dtype in FLOAT_DTYPES and model.dtype in INTEGER_DTYPES:
        return (
            f"{data.name} has fractions or gaps in the training data, and the model takes whole "
            "numbers: a request with 1.5 or null there is refused"
        )
    return ""


def _takes_several(model: Variable) -> bool:
    """Whether a row has more than one value; of ``(1,)`` and unknown rank it has one."""
    return any(size != 1 for size in model.shape)


def _how_many(several: bool) -> str:
    return "several values" if several else "one value"


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:8])
    return shown if len(names) <= 8 else f"{shown} and {len(names) - 8} more"
