"""What keeps an FFN below its capacity: each limit as a gap to the best that is known."""
