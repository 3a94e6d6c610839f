"""What stands behind the story that main.py, config.py, data_loader.py, modules.py, model.py and trainer.py tell."""
