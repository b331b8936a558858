UPDATE probes SET written = written + 1 WHERE id = 1
