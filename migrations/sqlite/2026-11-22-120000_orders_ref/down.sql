DROP INDEX orders_ref;
