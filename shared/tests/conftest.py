"""Places of files that the tests of this package run on."""

from taxi_shared.testing import bucket, object_store, s3_root  # noqa: F401
