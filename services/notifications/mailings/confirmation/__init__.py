"""The mail that asks whether it was the person who signed or wrote, with a button for it."""
