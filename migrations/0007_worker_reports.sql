-- What each running worker tells of itself, every second or two: how its providers' lanes stand, and which queues it
-- waits in. A row that is old is a worker that is gone; it is ignored, and removed by another worker.
CREATE TABLE IF NOT EXISTS worker_reports (
    worker BINARY(16) NOT NULL PRIMARY KEY COMMENT 'one a process',
    report MEDIUMTEXT NOT NULL COMMENT 'JSON',
    seen_at TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
    KEY seen (seen_at)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_ci;
