"""Composes mails: views, wording, templates, MIME and signatures. Knows nothing of SMTP."""
