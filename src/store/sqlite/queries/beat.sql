UPDATE workers SET beat_at = max(beat_at, $2) WHERE id = $1;
