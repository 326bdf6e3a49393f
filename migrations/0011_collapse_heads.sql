-- The newest notification of each customer and collapse key: what is older is not sent any more, wherever it waits.
--
-- One worker at a time has the notifications of a key in hand, so that a newer one is not shown before an older one that
-- is on its way just now: claimed_by and claimed_until are as in notification_history, of the one that is in hand.
-- A row goes when nothing that is older than it can be pending any more.
CREATE TABLE IF NOT EXISTS collapse_heads (
    customer_id BIGINT NOT NULL,
    collapse_key VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    notification_id BINARY(16) NOT NULL COMMENT 'the newest',
    raised_at TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3) COMMENT 'when it became the newest',
    claimed_by BINARY(16) NULL,
    claimed_for BINARY(16) NULL COMMENT 'the notification that is in hand',
    claimed_until TIMESTAMP(3) NULL DEFAULT NULL,
    PRIMARY KEY (customer_id, collapse_key),
    KEY raised (raised_at)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_ci;

-- Those that are pending when this comes to be.
INSERT IGNORE INTO collapse_heads (customer_id, collapse_key, notification_id, raised_at)
    SELECT newest.customer_id, newest.collapse_key, newest.notification_id, newest.created_at
    FROM notification_history AS newest FORCE INDEX (status_due)
    WHERE newest.status = 'pending' AND newest.collapse_key IS NOT NULL
    ORDER BY newest.id DESC;
