"""Pages for people: templates, styles, translations and view models, shared by every service."""
