"""Stands for trueup.trainer.graph.examples until that is merged."""


def parser(plan):
    import tensorflow as tf

    spec = {v.name: tf.io.FixedLenFeature([], tf.float32) for v in plan.inputs}
    spec[plan.target.label] = tf.io.FixedLenFeature([], tf.float32)

    def parse(serialized):
        found = tf.io.parse_example(serialized, spec)
        label = found.pop(plan.target.label)
        return found, label

    return parse
