-- Staff name an order by its reference without saying whose it is.
CREATE INDEX orders_ref ON orders (ref);
