-- Bounds of what one customer can bring about: how many devices, and how many notifications for one time.

SET @change = IF((SELECT COUNT(*) FROM information_schema.columns
        WHERE table_schema = DATABASE() AND table_name = 'customer_push_tokens' AND column_name = 'fcm_off_because'
            AND column_type LIKE '%too_many%') > 0, 'DO 0',
    'ALTER TABLE customer_push_tokens
        MODIFY COLUMN fcm_off_because ENUM(''unregistered'', ''reported_dead'', ''moved'', ''too_many'') NULL,
        MODIFY COLUMN expo_off_because ENUM(''unregistered'', ''reported_dead'', ''moved'', ''too_many'') NULL');
PREPARE change_table FROM @change;
EXECUTE change_table;
DEALLOCATE PREPARE change_table;

-- How many of a customer's wait for about the same time. None of the other indexes knows both customer and time: many
-- customers' may wait for one time, and one customer may have had many.
SET @change = IF((SELECT COUNT(*) FROM information_schema.statistics
        WHERE table_schema = DATABASE() AND table_name = 'notification_history' AND index_name = 'scheduled') > 0, 'DO 0',
    'ALTER TABLE notification_history ADD KEY scheduled (customer_id, send_at)');
PREPARE change_table FROM @change;
EXECUTE change_table;
DEALLOCATE PREPARE change_table;
