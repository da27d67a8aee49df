"""Rows and records as table, json, jsonl or csv. Knows columns and iterables, no type of any other room."""
