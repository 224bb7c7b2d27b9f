"""Clients of AWS's services, and the pages of its console."""

from typing import Any

from taxi_shared import settings


def client_of(service: str, config: Any = None) -> Any:
    """Return a client of boto3 for a service, with a `botocore.config.Config` if one is given."""
    import boto3

    return boto3.client(service, region_name=settings.load().aws_region or None, config=config)


def console(client: Any, service: str, page: str) -> str:
    """Return the address of a page of a service in AWS's console, in the region of a client."""
    region = client.meta.region_name
    return f"https://{region}.console.aws.amazon.com/{service}/home?region={region}#{page}"
