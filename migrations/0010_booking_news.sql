-- What tells the next event of a booking from one that is known: to whom the booking was given, and what else happened
-- since it is in its status. `status` is empty where nothing but that has happened.
--
-- ALTER TABLE has no IF NOT EXISTS that both databases know, so it is only run where its first column is missing.
SET @change = IF((SELECT COUNT(*) FROM information_schema.columns
        WHERE table_schema = DATABASE() AND table_name = 'booking_status' AND column_name = 'technician_hash') > 0, 'DO 0',
    'ALTER TABLE booking_status
        ADD COLUMN technician_hash BINARY(32) NULL COMMENT ''SHA-256 of the name, where the status is that it was given to a technician'',
        ADD COLUMN other_type VARCHAR(50) CHARACTER SET ascii COLLATE ascii_bin NULL COMMENT ''the last event that is no status, since it is in this one''');
PREPARE change_table FROM @change;
EXECUTE change_table;
DEALLOCATE PREPARE change_table;
