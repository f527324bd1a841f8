"""What people get beside the pay for their work: referral shares, invites, grants, base rewards; and their reports."""
