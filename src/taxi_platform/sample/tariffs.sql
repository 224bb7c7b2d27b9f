-- Grain: one row per day from which some price differs. Money in cents; card_share is the part paid
-- by card. Sources: TLC's rules of fare and the MTA's bridge and tunnel tolls (cash-free rate).
-- noqa: disable=layout.spacing, aliasing.unused
-- The figures are aligned; the name of the values is required by their columns.
CREATE TABLE tariffs AS
SELECT * FROM (
    VALUES
    (DATE '2008-01-01', 250, 40, 4500, 1500,  50, 100, 415,  0,   0,   0,   0,   0,  0, 0.26),
    (DATE '2009-11-01', 250, 40, 4500, 1500,  50, 100, 415, 50,   0,   0,   0,   0,  0, 0.32),
    (DATE '2010-12-30', 250, 40, 4500, 1500,  50, 100, 480, 50,   0,   0,   0,   0,  0, 0.45),
    (DATE '2012-09-04', 250, 50, 5200, 1750,  50, 100, 480, 50,   0,   0,   0,   0,  0, 0.52),
    (DATE '2013-03-03', 250, 50, 5200, 1750,  50, 100, 533, 50,   0,   0,   0,   0,  0, 0.56),
    (DATE '2015-01-01', 250, 50, 5200, 1750,  50, 100, 533, 50,  30,   0,   0,   0,  0, 0.62),
    (DATE '2015-03-22', 250, 50, 5200, 1750,  50, 100, 554, 50,  30,   0,   0,   0,  0, 0.64),
    (DATE '2017-03-19', 250, 50, 5200, 1750,  50, 100, 576, 50,  30,   0,   0,   0,  0, 0.69),
    (DATE '2019-02-02', 250, 50, 5200, 1750,  50, 100, 576, 50,  30, 250, 275,   0,  0, 0.72),
    (DATE '2019-03-31', 250, 50, 5200, 1750,  50, 100, 612, 50,  30, 250, 275,   0,  0, 0.73),
    (DATE '2020-11-01', 250, 50, 5200, 1750,  50, 100, 612, 50,  30, 250, 275, 125,  0, 0.74),
    (DATE '2021-04-11', 250, 50, 5200, 1750,  50, 100, 655, 50,  30, 250, 275, 125,  0, 0.77),
    (DATE '2022-12-19', 300, 70, 7000, 2000, 100, 250, 655, 50, 100, 250, 275, 125,  0, 0.81),
    (DATE '2023-04-01', 300, 70, 7000, 2000, 100, 250, 655, 50, 100, 250, 275, 175,  0, 0.82),
    (DATE '2023-08-06', 300, 70, 7000, 2000, 100, 250, 694, 50, 100, 250, 275, 175,  0, 0.82),
    (DATE '2025-01-05', 300, 70, 7000, 2000, 100, 250, 694, 50, 100, 250, 275, 175, 75, 0.83)
) AS t(
    since, flag_drop, fare_unit, jfk_flat_fare, newark_surcharge, overnight_extra,
    rush_hour_extra, bridge_toll, mta_tax, improvement_surcharge, yellow_congestion_surcharge,
    green_congestion_surcharge, airport_fee, cbd_congestion_fee, card_share
);
