"""The hardware, in Amaranth."""

from hw.names import install

install()
