-- Chance without state: a draw depends on the trip's key and the number of the draw alone, so
-- neither threads nor the size of a batch change any row.
CREATE MACRO trip_key(row_number, seed) AS hash(row_number, seed);
-- All 64 bits of a draw.
CREATE MACRO bits(trip, number) AS hash(xor(trip, number::UBIGINT));
-- Uniform in [0, 1), 40 bits.
CREATE MACRO draw(trip, number) AS (bits(trip, number) >> 24)::DOUBLE / 1099511627776.0::DOUBLE;
-- Near enough to a standard normal, and ten times cheaper than logarithm and cosine: the sum of
-- four uniform draws of 16 bits, less its mean 2, over its standard deviation (a third's square
-- root).
CREATE MACRO normal(trip, number) AS (
    (
        (bits(trip, number) & 65535)
        + ((bits(trip, number) >> 16) & 65535)
        + ((bits(trip, number) >> 32) & 65535)
        + (bits(trip, number) >> 48)
    )::DOUBLE / 65536.0::DOUBLE - 2.0::DOUBLE
) * 1.7320508::DOUBLE;
-- Two draws as weights of a triangle's sides: of the square around it, the half beyond the diagonal
-- is folded back, so that points spread evenly.
CREATE MACRO fold(draw, other) AS CASE WHEN draw + other > 1 THEN 1 - draw ELSE draw END;
-- VeriFone's meters (vendor 2) once reported whole minutes, as text.
CREATE MACRO clock_text(vendor, clock) AS
(CASE WHEN vendor = 2 THEN date_trunc('minute', clock) ELSE clock END)::VARCHAR;
