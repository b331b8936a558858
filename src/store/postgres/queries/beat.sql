UPDATE workers SET beat_at = greatest(beat_at, $2) WHERE id = $1
