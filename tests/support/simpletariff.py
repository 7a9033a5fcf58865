"""A tariff of two periods, for tests of what a file may say."""

SIMPLE = """
name = "simple"
zone = "Europe/Berlin"
currency = "EUR"
[[period]]
name = "day"
price_per_kwh = 0.30
from = "06:00"
to = "22:00"
weekdays = ["mon", "tue", "wed", "thu", "fri"]
[[period]]
name = "rest"
price_per_kwh = 0.20
"""
