"""Designs side by side for one request: predicted, rehearsed and measured."""
