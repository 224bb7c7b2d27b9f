-- Chance without state: a draw depends on the trip's key and the name of the draw alone, so neither threads nor the
-- size of a batch change any row.
CREATE MACRO trip_key(row_number, seed) AS hash(row_number, seed);
CREATE MACRO bits(trip, stream) AS hash(xor(trip, stream::UBIGINT));
-- Uniform in [0, 1), 40 bits.
CREATE MACRO draw(trip, stream) AS (bits(trip, stream) >> 24)::DOUBLE / 1099511627776.0;
-- Standard normal (Box and Muller). 1 - draw is never 0, whose logarithm has no value.
CREATE MACRO normal(trip, stream) AS
    sqrt(-2 * ln(1 - draw(trip, stream))) * cos(2 * pi() * draw(trip, stream + 1));
