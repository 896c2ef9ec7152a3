"""The four services. They meet only through events; none imports another."""
