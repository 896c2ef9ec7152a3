"""Routes of marathon: pages for people, documents for programs."""
