-- The names are read page by page behind the position of the last one: it is unique, and says nothing about a person.
DROP INDEX signatories_in_order;
CREATE INDEX signatories_in_order ON signatories (subject, accepted_ms, partition, "offset");
