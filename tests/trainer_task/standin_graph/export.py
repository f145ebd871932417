"""Stands for trueup.trainer.graph.export until that is merged."""


def export_model(model, plan, folder):
    import tensorflow as tf

    tf.saved_model.save(model, str(folder))
