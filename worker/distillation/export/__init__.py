"""The files of a finished distillation: the model, the model card, the learning curve."""
