"""Tune callbacks: progress, cost, dropped trials and stalled searches."""
