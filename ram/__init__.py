"""The parts behind main.py, config.py, data_loader.py, modules.py, model.py and trainer.py."""
