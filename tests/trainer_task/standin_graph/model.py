"""Stands for trueup.trainer.graph.model until that is merged."""

from importlib import import_module


def build_model(plan, settings):
    import tensorflow as tf
    import tf_keras

    tf_keras.utils.set_random_seed(settings.seed)
    if ":" in settings.model:
        module, _, name = settings.model.partition(":")
        return getattr(import_module(module), name)(plan, settings)
    inputs = {v.name: tf_keras.Input((), name=v.name) for v in plan.inputs}
    x = tf.stack([inputs[f.variable] for f in plan.features], axis=1)
    for units in settings.hidden_units:
        x = tf_keras.layers.Dense(units, activation="relu")(x)
    return tf_keras.Model(inputs, tf_keras.layers.Dense(1, activation="sigmoid")(x))


def compile_model(model, plan, settings):
    import tf_keras

    model.compile(
        tf_keras.optimizers.legacy.Adam(settings.learning_rate),
        loss="binary_crossentropy",
        metrics=["accuracy"],
    )
