"""What a finished distillation leaves: model files, the model card, the learning curve."""
