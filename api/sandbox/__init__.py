"""Routes that exist in the sandbox alone: money from nothing, blocks, time, faults."""
