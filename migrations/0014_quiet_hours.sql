-- Which notifications wait for the end of their customer's quiet hours: so that a change of the preferences finds them. A
-- row goes when its notification is published again, or a day after it would have been.
CREATE TABLE IF NOT EXISTS quiet_hours_waits (
    notification_id BINARY(16) NOT NULL PRIMARY KEY,
    customer_id BIGINT NOT NULL,
    ends_at TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3) COMMENT 'notification_history.next_at, for as long as it waits',
    KEY customer (customer_id, ends_at),
    KEY ends (ends_at)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_ci;
