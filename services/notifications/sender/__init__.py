"""Plans mails and sends them. No SMTP inside a database transaction."""
