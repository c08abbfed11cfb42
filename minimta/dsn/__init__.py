"""Delivery status notifications: who is told of failures, delays and receipts, and in which words.

``notify`` decides, ``compose`` makes the message of ``multipart``'s values. Nothing is queued here.
"""
