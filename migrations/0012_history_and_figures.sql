-- The figures (`GET stats`, the books), kept up to date with every change of a notification instead of counted anew.
--
-- Who changes a notification writes what that changes in the counts, in the same transaction: one row, and no other
-- transaction waits for it. A little later the rows are added up and removed; whoever reads counts both tables in one
-- statement, so nothing is missing and nothing is there twice.
CREATE TABLE IF NOT EXISTS notification_counter_changes (
    id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    changes MEDIUMTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL COMMENT 'JSON: per hour and type, what is added to each counter'
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_ci;

-- Per hour, per day and for ever; of the time at which notifications were accepted, whenever it was that they changed.
CREATE TABLE IF NOT EXISTS notification_counters (
    span SMALLINT UNSIGNED NOT NULL COMMENT 'hours: 1, 24, or 0 for ever',
    first_hour INT UNSIGNED NOT NULL COMMENT 'hours since 1970-01-01 00:00 UTC; 0 for ever',
    notification_type VARCHAR(50) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    counts MEDIUMTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL COMMENT 'JSON: counter to number',
    PRIMARY KEY (span, first_hour, notification_type)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_ci;

-- What was accepted before there were counters. One statement, so that it is there as a whole or not at all.
-- A slot of a delivery time is as wide as a tenth of the time.
INSERT INTO notification_counters (span, first_hour, notification_type, counts)
SELECT span, first_hour, notification_type, JSON_OBJECTAGG(counter, n)
FROM (
    SELECT spans.span, IF(spans.span = 0, 0, facts.hour DIV spans.span * spans.span) AS first_hour,
        facts.notification_type, facts.counter, CAST(SUM(facts.n) AS SIGNED) AS n
    FROM (
        SELECT UNIX_TIMESTAMP(created_at) DIV 3600 AS hour, notification_type, 'accepted' AS counter, COUNT(*) AS n
        FROM notification_history GROUP BY 1, 2, 3
        UNION ALL
        SELECT UNIX_TIMESTAMP(created_at) DIV 3600, notification_type,
            IF(status = 'sent', 'sent', CONCAT(status, '.', reason)), COUNT(*)
        FROM notification_history WHERE status = 'sent' OR (status <> 'pending' AND reason IS NOT NULL) GROUP BY 1, 2, 3
        UNION ALL
        SELECT UNIX_TIMESTAMP(created_at) DIV 3600, notification_type, CONCAT('fcm.', fcm_result), COUNT(*)
        FROM notification_history WHERE status <> 'pending' AND fcm_result IN ('success', 'failed') GROUP BY 1, 2, 3
        UNION ALL
        SELECT UNIX_TIMESTAMP(created_at) DIV 3600, notification_type, CONCAT('expo.', expo_result), COUNT(*)
        FROM notification_history WHERE status <> 'pending' AND expo_result IN ('success', 'failed') GROUP BY 1, 2, 3
        UNION ALL
        SELECT UNIX_TIMESTAMP(created_at) DIV 3600, notification_type, 'opened', COUNT(*)
        FROM notification_history WHERE opened_at IS NOT NULL GROUP BY 1, 2, 3
        UNION ALL
        SELECT UNIX_TIMESTAMP(created_at) DIV 3600, notification_type, CONCAT('took.', CAST(CEIL(
            LN(GREATEST(TIMESTAMPDIFF(MICROSECOND, created_at, sent_at) DIV 1000, 1)) / LN(1.1)) AS SIGNED)), COUNT(*)
        FROM notification_history WHERE status = 'sent' AND sent_at IS NOT NULL GROUP BY 1, 2, 3
        UNION ALL
        SELECT UNIX_TIMESTAMP(history.created_at) DIV 3600, history.notification_type,
            CONCAT(delivery.provider, '.took.', CAST(CEIL(
            LN(GREATEST(TIMESTAMPDIFF(MICROSECOND, history.created_at, delivery.at) DIV 1000, 1)) / LN(1.1)) AS SIGNED)), COUNT(*)
        FROM notification_history AS history
        JOIN notification_deliveries AS delivery ON delivery.notification_id = history.notification_id
        WHERE delivery.outcome = 'accepted' GROUP BY 1, 2, 3
    ) AS facts
    CROSS JOIN (SELECT 1 AS span UNION ALL SELECT 24 UNION ALL SELECT 0) AS spans
    GROUP BY 1, 2, 3, 4
) AS summed
WHERE NOT EXISTS (SELECT 1 FROM notification_counter_changes) AND NOT EXISTS (SELECT 1 FROM
    (SELECT 1 FROM notification_counters LIMIT 1) AS filled)
GROUP BY 1, 2, 3;

-- `GET history`: every combination of filters is one range of an index, or a few, in the order of time. Each index costs at
-- every insert, so there are no more than it takes:
-- by_time      nothing but times
-- by_customer  a customer (instead of customer_newest); what else is asked is looked at row by row: those of one customer
-- by_outcome   a status, a reason. A reason has one status; a status has few reasons, and `sent` and `pending` none: so each
--              pair is a range, and a status without a reason is asked for as those pairs that there are
-- by_type      a type, with or without those two: the same pairs
-- A change of the status moves an entry of by_outcome and of by_type, as it always moved one of status_due.
--
-- ALTER TABLE has no IF NOT EXISTS that both databases know.
SET @change = IF((SELECT COUNT(*) FROM information_schema.statistics
        WHERE table_schema = DATABASE() AND table_name = 'notification_history' AND index_name = 'by_time') > 0, 'DO 0',
    'ALTER TABLE notification_history
        ADD KEY by_time (created_at),
        ADD KEY by_customer (customer_id, created_at),
        ADD KEY by_outcome (status, reason, created_at),
        ADD KEY by_type (notification_type, status, reason, created_at),
        DROP KEY customer_newest');
PREPARE change_table FROM @change;
EXECUTE change_table;
DEALLOCATE PREPARE change_table;
