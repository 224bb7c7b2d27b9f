-- Yellow trips of 2009: text datetimes, points instead of zones. Grain: one trip.
-- VeriFone (VTS) reported no store-and-forward flag.
-- TLC's names of columns are in mixed case.
-- noqa: disable=capitalisation.identifiers
SELECT
    CASE
        WHEN vendor = 2 THEN 'VTS'
        WHEN draw(trip, 30) < 0.15 THEN 'DDS'
        ELSE 'CMT'
    END AS vendor_name,
    clock_text(vendor, pickup_at) AS Trip_Pickup_DateTime,
    clock_text(vendor, dropoff_at) AS Trip_Dropoff_DateTime,
    passengers AS Passenger_Count,
    miles AS Trip_Distance,
    CASE WHEN has_fix THEN round(pickup_x, 6) ELSE 0 END AS Start_Lon,
    CASE WHEN has_fix THEN round(pickup_y, 6) ELSE 0 END AS Start_Lat,
    NULL::DOUBLE AS Rate_Code,
    CASE WHEN vendor = 1 THEN was_stored::INTEGER::DOUBLE END AS store_and_forward,
    CASE WHEN has_fix THEN round(dropoff_x, 6) ELSE 0 END AS End_Lon,
    CASE WHEN has_fix THEN round(dropoff_y, 6) ELSE 0 END AS End_Lat,
    CASE payment
        WHEN 1 THEN 'Credit'
        WHEN 2 THEN CASE WHEN vendor = 2 THEN 'CASH' ELSE 'Cash' END
        WHEN 3 THEN 'No Charge'
        ELSE 'Dispute'
    END AS Payment_Type,
    sign * fare / 100 AS Fare_Amt,
    sign * extra / 100 AS surcharge,
    sign * nullif(tax, 0) / 100 AS mta_tax,
    sign * tip / 100 AS Tip_Amt,
    sign * tolls / 100 AS Tolls_Amt,
    sign * total / 100 AS Total_Amt
FROM sample_trips($from_row, $to_row, $seed)
