"""AWS on this machine: moto, and beside it what moto leaves out."""

from local import botocore_data

botocore_data.share()
