"""The subcommands of `allegro-dist`, one module each with add_arguments(parser) and run(args).

They are a few lines over the package; cli.py lists them and imports a module when its command is called.
"""
