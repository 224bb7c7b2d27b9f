-- Missing values of a Parquet file by its footer: one row per column, in the order of the file.
-- is_known: whether every row group says how many values are NULL.
SELECT
    path_in_schema AS column_name,
    CAST(sum(stats_null_count) AS BIGINT) AS num_nulls,
    sum(num_values) > sum(stats_null_count) AS has_values,
    count(stats_null_count) = count(*) AS is_known
FROM parquet_metadata($file)
GROUP BY path_in_schema
ORDER BY min(column_id)
